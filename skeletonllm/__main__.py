import sys

from skeletonllm.cli import main

if __name__ == "__main__":
    sys.exit(main())
