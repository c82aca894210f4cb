"""The bench: one run, one table, of what PyRunner costs against a bare server and against a cold interpreter."""
