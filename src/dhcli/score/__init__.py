"""`dh score`: how the mouth of any video moves and looks."""
