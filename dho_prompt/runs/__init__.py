"""Result files and the tables made from them."""
