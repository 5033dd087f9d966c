"""One streaming reader for each file format, used for training, prediction and `inspect` alike."""
