"""One file a question. Each has `measure(context)`, which yields rows, figures and costs."""
