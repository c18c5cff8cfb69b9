# %% [markdown]
# # MountainCar with a deep Q-network, in Keras
#
# A car in a valley is too weak to drive up the hill to its flag; it has to swing back first. Each step costs 1, and
# after 200 steps the episode ends, so whoever never gets up pays 200. Solved is a mean of -110 over 100 episodes.
#
# A Q-network (Mnih et al. 2015) says for each action how much reward will follow if it is taken now and the best ones
# after it. The trouble here is to see the flag for the first time: actions at random never get there.

# %%
import time

import gymnasium
import numpy as np

from trainers.demos.common import finish, read_options

options = read_options("mountain_car_dqn", backends=("kernels", "keras"), steps=256_000)

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
SOLVED = -110.0
CARS, HELD = 16, 4  # cars that learn together; steps for which an action is held
DISCOUNT, BATCH, COPY_EVERY = 0.97, 256, 25

keras.utils.set_random_seed(options.seed)
random = np.random.default_rng(options.seed)


def network() -> Sequential:
    """From a state, place and speed, to what each of the three actions is worth."""
    return Sequential([keras.Input((2,)), Dense(64, activation="relu"), Dense(64, activation="relu"), Dense(3)])


online, target = network(), network()
online.compile(optimizer=Adam(0.002), loss="mean_squared_error")
target.set_weights(online.get_weights())

# %% [markdown]
# What makes the flag come into sight: an action is held for four steps, and a random one for a few such decisions more,
# so that the car swings. What was seen is kept, and learnt from many times in random batches. The value of the next
# state comes from a second network that is only now and then brought up to date, lest the online one chases itself.


# %%
class Car:
    """An environment in which an action is held, and its episode so far."""

    def __init__(self, seed: int) -> None:
        self.environment = gymnasium.make("MountainCar-v0")
        self.impulse, self.impulsive = 0, True  # a random action, and whether it is followed
        self.begin(seed)

    def begin(self, seed: int | None = None) -> None:
        (self.state, _), self.total, self.over = self.environment.reset(seed=seed), 0.0, False

    def hold(self, action: int) -> tuple[float, bool]:
        """The reward, and whether it went on: at the end of the time it would have."""
        before = self.total
        for _ in range(HELD):
            self.state, reward, at_flag, late, _ = self.environment.step(action)
            self.total, self.over = self.total + float(reward), at_flag or late
            if self.over:
                break
        return self.total - before, not at_flag

    def follow(self, action: int, explore: float) -> int:
        """The best action, or for some decisions a random one."""
        if random.random() < 0.25:
            self.impulse, self.impulsive = int(random.integers(3)), random.random() < explore
        return self.impulse if self.impulsive else action


def ready(states: np.ndarray) -> np.ndarray:
    """Place (m) and speed (m a step) [n, 2], brought to about one size."""
    return (states - np.float32([-0.5, 0])) / np.float32([0.5, 0.03])


def best_actions(cars: list[Car]) -> list[int]:
    return online.predict_on_batch(ready(np.stack([car.state for car in cars]))).argmax(axis=1).tolist()


def learn() -> float:
    """A step of the optimizer on a random batch, and its loss."""
    rows = zip(*(memory[row] for row in random.integers(len(memory), size=BATCH)), strict=True)
    states, actions, rewards, following, went_on = (np.array(column, np.float32) for column in rows)
    worth = online.predict_on_batch(ready(states))  # of the actions that were not taken, so that these stay as they are
    future = went_on * target.predict_on_batch(ready(following)).max(axis=1)
    worth[np.arange(BATCH), actions.astype(int)] = rewards / HELD + DISCOUNT * future
    return float(online.train_on_batch(ready(states), worth))


def test(cars: list[Car]) -> list[float]:
    """The return of an episode of each car, all at once, with the best action each time."""
    for car in cars:
        car.begin()
    while driving := [car for car in cars if not car.over]:
        for car, action in zip(driving, best_actions(driving), strict=True):
            car.hold(action)
    return [car.total for car in cars]


# %% [markdown]
# The loop: all cars decide, then a batch is learnt from. Over the first 40 % of the budget random actions give way to
# the network's, but for one in twenty. A Q-network gets worse at times; a test now and then says which one to keep.

# %%
memory, steps, returns, losses = [], [], [], []
cars = [Car(options.seed * 1000 + number) for number in range(CARS)]
testers = [Car(options.seed * 1000 + 100 + number) for number in range(50)]
best, best_weights = -np.inf, online.get_weights()
started = time.perf_counter()
for decision in range(1, options.steps // (CARS * HELD) + 1):
    progress = decision * CARS * HELD / options.steps
    for car, action in zip(cars, best_actions(cars), strict=True):
        before, action = car.state, car.follow(action, max(0.05, 1 - progress / 0.4))
        reward, went_on = car.hold(action)
        memory.append((before, action, reward, car.state, went_on))
        if car.over:
            steps.append(decision * CARS * HELD)
            returns.append(car.total)
            car.begin()
    if len(memory) >= 1000:
        losses.append(learn())
    if decision % COPY_EVERY == 0:
        target.set_weights(online.get_weights())
    if progress > 0.4 and decision % 50 == 0 and (mean := np.mean(test(testers))) > best:
        best, best_weights = mean, online.get_weights()
        print(f"{decision * CARS * HELD:,} steps, mean return {mean:.1f} in a test", flush=True)
        if best >= SOLVED + 5:
            break
seconds = time.perf_counter() - started
# %% Fresh episodes of the network that was kept.
online.set_weights(best_weights)
fresh = [Car(options.seed * 1000 + 500 + number) for number in range(options.played)]
finish(options, bar=SOLVED, steps=steps, returns=returns, losses=losses, seconds=seconds, played=test(fresh))
