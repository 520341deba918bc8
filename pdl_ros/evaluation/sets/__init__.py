"""A network judged on the data sets of a mixture, each in the classes that it tells apart."""
