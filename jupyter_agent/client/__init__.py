"""Talks to the gateway from Python: finds it, starts and follows runs, reconnects, and carries out what runs ask of
this process."""
