"""How fast this machine renders: an ordinary run renders one clip, cold and warm; its result files hold the times."""
