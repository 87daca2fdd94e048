"""The microservice: a gateway that accepts series, workers that score them, a command line."""
