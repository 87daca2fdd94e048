"""The record of every study and job."""
