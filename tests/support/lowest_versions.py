"""Write the lowest versions that pyproject.toml allows of the base set and the named extras, as constraints for pip.

What has no lower bound there is left to pip.
"""

import re
import sys
from pathlib import Path

import tomllib

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"

if __name__ == "__main__":
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = (project["optional-dependencies"][extra] for extra in sys.argv[1:])
    for requirement in sum(extras, project["dependencies"]):
        if bound := re.match(r"([\w.-]+)(?:\[.*\])?>=([\w.]+)", requirement):
            marker = "".join(requirement.partition(";")[1:])
            sys.stdout.write(f"{bound[1]}=={bound[2]}{marker}\n")
