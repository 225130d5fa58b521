"""Which actions are taken for one another: by a student, by how the joints move, by a language model. Numpy only."""
