"""What the bench of takeovers calls a violation."""

from seg_pipeline_tests.bench.takeovers import lost_ids, wrong_movers, wrong_words


def words(names, spend):
    others = dict.fromkeys(spend, 1.0)
    return wrong_words(names, {"mean_m_score": spend, "mean_f_score": others, "mean_r_score": others})


def test_words_of_level_have_their_counterparts_and_agree_with_the_scores():
    names = {1: "At Risk, low spend", 2: "At Risk, high spend", 3: "Champions", 4: "Champions, unclustered"}

    assert words(names, {1: 2.0, 2: 3.0, 3: 1.0, 4: 1.0}) == []
    assert words(names, {1: 3.0, 2: 2.0, 3: 1.0, 4: 1.0}) == ["At Risk: mean_m_score of low, high is 3.00, 2.00"]
    assert words({1: "At Risk, low spend"}, {1: 1.0}) == ["At Risk, low spend: stands alone"]
    assert words({1: "At Risk, low spend", 2: "At Risk"}, {1: 1.0, 2: 2.0}) == [
        "At Risk: 2 segments have At Risk, At Risk, low spend"
    ]
    assert len(words({1: "At Risk, low spend", 2: "At Risk, high order count"}, {1: 1.0, 2: 2.0})) == 1


def test_an_id_is_lost_or_kept_against_the_threshold():
    assert lost_ids({(1, 1): 60, (1, 2): 40, (2, 2): 100}, 0.3) == []
    assert lost_ids({(1, 3): 100}, 0.3) == [
        "1: lost, although 3 has 100 of its customers",
        "0 customers keep their segment, and 100 could",
    ]
    assert lost_ids({(1, 1): 10, (1, 3): 45, (2, 1): 45}, 0.3) == [
        "1: kept with too small an overlap",
        "0 customers keep their segment, and 90 could",
    ]


def test_a_customer_without_a_new_line_is_moved_by_time_or_by_the_model():
    assert wrong_movers([("a", "model", False), ("b", "customer", True)]) == []
    assert wrong_movers([("a", "customer", False), ("b", "customer", False), ("c", "new", False)]) == [
        "2 customers without a new line, moved by the model: moved_by is customer",
        "1 customers without a new line, moved by the model: moved_by is new",
    ]
