"""The revisions, the oldest first; a file is never changed once it was released."""
