"""How fast this machine renders: an ordinary run over one clip, cold and warm, told by its own result files."""
