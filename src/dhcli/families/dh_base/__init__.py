"""The family `dh_base`: mouth codes, and a flow that moves the mouth's own pixels."""
