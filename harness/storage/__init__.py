"""The results store: database, job queue, files.  The only package that imports sqlalchemy.  No torch."""
