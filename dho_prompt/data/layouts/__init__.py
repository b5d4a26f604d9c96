"""Reading what lies on the disk: folders, lists, splits -> classes and named images."""
