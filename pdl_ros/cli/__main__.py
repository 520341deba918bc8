"""`python -m pdl_ros.cli`."""

from pdl_ros.cli.app import main

if __name__ == '__main__':
    main()
