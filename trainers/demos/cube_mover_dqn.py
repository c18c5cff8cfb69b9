# %% [markdown]
# # The cube mover with a deep Q-network, in Keras
#
# A blue cube stands on a row of cells between two goals. Each step costs 0.01; the small goal, three cells to the left,
# pays 0.1 and the large one, seven to the right, pays 1. Straight to the right is worth 0.94, straight to the left
# 0.08. A learner that is content with the nearer goal has not learnt the task, so the bar is 0.90.
#
# A Q-network (Mnih et al. 2015) says for each action how much reward will follow if it is taken now and the best ones
# after it. CubeMover is a program of its own, as a Unity build is, and spoken to over gRPC with ML-Agents' protocol.

# %%
import time

import numpy as np

from bridge.gymnasium_env import UnityGymnasiumEnv
from trainers.demos.common import finish, play, read_options
from unity_envs import executables

options = read_options("cube_mover_dqn", backends=("kernels", "keras"), steps=3000)

# %% [markdown]
# The interface is Keras's own, so a script goes from one to the other by its imports. `kernels` are ours.

# %%
from trainers.kernels import keras as kernels  # chooses Keras's torch backend, so it comes before Keras

if options.backend == "kernels":
    from trainers.kernels.keras import Adam, Dense, Sequential
else:
    from keras import Sequential
    from keras.layers import Dense
    from keras.optimizers import Adam

kernels.require_keras()
import keras

# %%
BAR = 0.90
DISCOUNT = 0.95
BATCH = 32
LEARN_EVERY, COPY_EVERY = 4, 100  # steps
LONGEST = 200  # steps of an episode: CubeMover itself has no limit

keras.utils.set_random_seed(options.seed)
random = np.random.default_rng(options.seed)
environment = UnityGymnasiumEnv(executables.path("CubeMover"), seed=options.seed, no_graphics=True)


def network() -> Sequential:
    """From a position to what each of the two actions is worth."""
    return Sequential([keras.Input((1,)), Dense(32, activation="tanh"), Dense(2)])


online, target = network(), network()
online.compile(optimizer=Adam(0.01), loss="mean_squared_error")
target.set_weights(online.get_weights())

# %% [markdown]
# What was seen is kept, and learnt from many times in random batches, as neighbouring steps are too much alike. The
# value of the next state comes from a second network that is only now and then brought up to date, so that the online
# one does not chase itself. Where an episode ended nothing follows; where it was merely given up, something would have.

# %%
memory = []  # (position, action, reward, next position, whether the episode went on)


def values(model: Sequential, positions: np.ndarray) -> np.ndarray:
    """Positions [n, 1], -10 to 10, to the worth of each action [n, 2]."""
    return model.predict_on_batch(positions / np.float32(10))


def learn() -> float:
    """A step of the optimizer on a random batch, and its loss."""
    rows = [memory[row] for row in random.integers(len(memory), size=BATCH)]
    positions, actions, rewards, following, went_on = (
        np.array(column, np.float32) for column in zip(*rows, strict=True)
    )
    worth = values(online, positions)  # of the actions that were not taken, so that these stay as they are
    worth[np.arange(BATCH), actions.astype(int)] = rewards + DISCOUNT * went_on * values(target, following).max(axis=1)
    return float(online.train_on_batch(positions / np.float32(10), worth))


def best(observation: np.ndarray) -> int:
    return int(values(online, observation[None]).argmax())


# %% [markdown]
# The loop. At first actions are random; over the first half of the steps the network takes over, all but one in ten.

# %%
steps, returns, losses = [], [], []
total, length = 0.0, 0
started = time.perf_counter()
observation, _ = environment.reset()
for step in range(1, options.steps + 1):
    explore = max(0.1, 1 - 2 * step / options.steps)
    action = int(random.integers(2)) if random.random() < explore else best(observation)
    following, reward, terminated, truncated, _ = environment.step(action)
    memory.append((observation, action, reward, following, not terminated))
    observation, total, length = following, total + reward, length + 1
    if terminated or truncated or length == LONGEST:
        steps.append(step)
        returns.append(total)
        total, length = 0.0, 0
        observation, _ = environment.reset()
    if step >= BATCH and step % LEARN_EVERY == 0:
        losses.append(learn())
    if step % COPY_EVERY == 0:
        target.set_weights(online.get_weights())
seconds = time.perf_counter() - started

# %% [markdown]
# A hundred fresh episodes with the best action each time. One that never ends is given up, as the failure it is.

# %%
played = play(environment, best, options.played, longest=LONGEST)
environment.close()
finish(options, bar=BAR, steps=steps, returns=returns, losses=losses, seconds=seconds, played=played)
