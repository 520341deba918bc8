"""An embedded camera, and the whole node demonstrated with it."""
