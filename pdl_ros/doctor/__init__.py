"""`pdl_ros doctor`: what this machine has, what it lacks for what, and a proof on its GPU.

Only the standard library is imported here: whatever may be missing or broken is looked at by child
processes (`child.ask`). So a module of this room may import others of the package at its top only
where it runs in such a child: `probes.py`, and the files in `ros/` and `gpu/` that say so.
"""
