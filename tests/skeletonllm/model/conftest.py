"""One small model of each family for all tests of a run."""

import pytest

from tests.families import write_family


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory):
    """The folder of a family's small model, by its name."""
    folders = {}

    def folder(name):
        if name not in folders:
            folders[name] = write_family(name, tmp_path_factory.mktemp(name))
        return folders[name]

    return folder
