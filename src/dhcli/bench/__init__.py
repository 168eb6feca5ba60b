"""How fast this machine renders, stage by stage, beside what it cannot do without. No terminal, no batch."""
