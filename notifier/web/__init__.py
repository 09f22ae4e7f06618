"""What monitoring asks: is it alive, is it keeping its promises, and the numbers."""
