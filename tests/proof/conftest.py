"""Where z3 is missing there is nothing to prove."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("z3") else ["*.py"]
