"""Language models behind one protocol, offline ones included."""
