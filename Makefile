# Every target makes what it needs first; see scripts/setup_env.py.
#   PYTHON=python3.11   the Python to use, 3.10 to 3.12
#   ROS=kilted          another ROS 2 than the default (a sourced one, else the Jazzy wheels)
#   TORCH=cuda          the CUDA build of PyTorch
#   ARGS='...'          further arguments of the command

# Tests run in three processes where there are two cores, because those of the node wait a third of
# their time; PARALLEL= (nothing) is one process.
# One that dies ends the run: replaced, it would be waited for without an end.
PARALLEL ?= $(if $(filter-out 1,$(shell nproc)),-n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart=0)

PYTHON ?= python3
SETUP = $(PYTHON) scripts/setup_env.py
RUN = $(SETUP) run --

# No more than AVX2, which is what most robots have, for PyTorch, OpenVINO and the compiled kernels.
# Without the empty NUMBA_CPU_FEATURES a Haswell would get what this processor has beyond it.
AVX2 = ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=
EXACT = test_no_pixel_depends_on_whether_the_plain_or_the_fast_fusion_ran
AVX2_TESTS = test/unit/test_torch_engine.py test/node/test_topics.py \
	test/unit/test_fusion_kernels.py::$(EXACT)

.PHONY: demo bench test test-avx2 soak lint types setup shell lock clean

demo:
	@$(RUN) pdl_ros demo $(ARGS)

# A quarter of an hour; tables, and JSON in bench_output/.
bench:
	@mkdir -p bench_output
	@$(RUN) pdl_ros bench fusion --json bench_output/fusion.json
	@$(RUN) pdl_ros bench engines --json bench_output/engines.json
	@$(RUN) pdl_ros bench node --json bench_output/node.json

test:
	@$(RUN) python -m pytest $(PARALLEL) $(ARGS)

# What passes on a server passes on a robot; ARGS='test/unit test/node' is nearly everything. The
# benchmark comes first: it compiles the kernels once, and auto tries every engine.
test-avx2:
	@$(AVX2) $(RUN) pdl_ros bench engines --variant scene_tiny --engine auto --frames 1
	@$(AVX2) $(RUN) python -m pytest $(PARALLEL) $(or $(ARGS),$(AVX2_TESTS))

# Minutes: memory over thousands of frames and listeners, a whole training, more of fleets.
soak:
	@$(RUN) python -m pytest -s test/soak $(ARGS)

lint:
	@$(RUN) ruff check . $(ARGS)

types:
	@$(RUN) mypy $(ARGS)

setup:
	@$(SETUP)

shell:
	@$(SETUP) shell

# After setup.py or requirements/ros.in changed; ARGS=--upgrade moves all versions.
lock:
	@$(PYTHON) scripts/lock.py $(ARGS)

# The virtual environments stay: remove .venv* by hand to start from nothing.
clean:
	rm -rf .ros build install log *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find pdl_ros test launch scripts -name __pycache__ -type d -prune -exec rm -rf {} +
