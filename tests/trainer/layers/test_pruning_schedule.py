"""How alpha and lambda-hat of AdaSparse grow."""

import pytest

from trainer.keras import tf
from trainer.layers.pruning.pruning_schedule import PruningSchedule


def test_grows_by_training_steps_only():
    schedule = PruningSchedule(alpha_steps=49, lambda_growth=0.5)
    for step in range(60):
        for _ in range(3):  # evaluation, as often as one likes
            idle = schedule(None, training=False)
        now = schedule(None, training=True)
        assert float(now.alpha) == float(idle.alpha)
        assert float(now.alpha) == pytest.approx(min(0.1 + 0.1 * step, 5.0), rel=1e-5)
        assert float(now.lambda_hat) == pytest.approx(0.01 + 0.5 * step, rel=1e-5)
    assert float(schedule.alpha) == 5.0
    assert not schedule.trainable_variables and len(schedule.variables) == 2


def test_grows_in_a_graph_and_is_restored(tmp_path):
    schedule = PruningSchedule(alpha_steps=10)
    step = tf.function(lambda: schedule(None, training=True).alpha, autograph=False)
    assert [round(float(step()), 4) for _ in range(3)] == [0.1, 0.59, 1.08]
    path = tf.train.Checkpoint(schedule=schedule).save(str(tmp_path / 'checkpoint'))
    again = PruningSchedule.from_config(schedule.get_config())
    again(None, training=False)
    tf.train.Checkpoint(schedule=again).restore(path).assert_consumed()
    assert float(again(None, training=False).alpha) == pytest.approx(1.57, rel=1e-5)
    assert float(again.lambda_hat) == pytest.approx(0.04, rel=1e-5)
