"""How attention dilutes with length: closed forms, sweeps, growing texts, trained probes."""
