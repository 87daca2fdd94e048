"""What arrives: archives and folders of files, before anything is read as an image."""
