"""The outer end of the queues: sessions, their workers, and what watches over them."""
