"""HTTP: bodies in, the floor below asked, answers out."""
