"""``python -m tests.hostile_agents.hasty``: the runtime, which starts an agent again after 0.2 s
and not 5 s; every later wait is shorter by the same factor.
"""

from runtime.__main__ import main
from runtime.sessions import starting

if __name__ == "__main__":
    starting.FIRST_DELAY = 0.2
    main()
