"""Settings: who beats whom, and one line with the key for whatever is wrong."""

import datetime

import duckdb
import pytest

from seg_pipeline.cli import main
from seg_pipeline.errors import UsageError
from seg_pipeline.models.champions import SHAPING
from seg_pipeline.settings import Settings, keys, load_settings, loading, presets
from seg_pipeline.settings.presets import read_toml as presets_read_toml
from seg_pipeline.usecases.execution import Progress, executing


def load(*overrides, config=None, **environment):
    return load_settings(overrides, config=config, environment=environment)


def test_later_beats_earlier_defaults_preset_file_environment_set(tmp_path):
    preset, config = tmp_path / "mine.toml", tmp_path / "settings.toml"
    levels = ["models.k_max", "models.k_min", "models.seed", "models.n_init"]
    preset.write_text("[settings.models]\nk_max = 21\nk_min = 3\nseed = 3\nn_init = 3\n")
    config.write_text('[source]\npreset = "mine.toml"\n[models]\nk_min = 4\nseed = 4\nn_init = 4\n')
    environment = {"SEG_PIPELINE_MODELS_SEED": "5", "SEG_PIPELINE_MODELS_N_INIT": "5", "HOME": "/root"}
    models = load("models.n_init=6", config=config, **environment).models
    assert [getattr(models, key.split(".")[1]) for key in levels] == [21, 4, 5, 6]
    assert load().models.k_max == 10


def test_the_environment_names_the_settings_file_and_its_paths_are_its_neighbours(tmp_path):
    (tmp_path / "s.toml").write_text(
        'as_of = 2011-12-10\n[source]\npath = "a.csv, b, s3://bucket/c"\n[warehouse]\npath = "w.duckdb"\n'
    )
    found = load(SEG_PIPELINE_CONFIG=str(tmp_path / "s.toml"))
    assert found.as_of == datetime.date(2011, 12, 10)
    assert found.source.path == (str(tmp_path / "a.csv"), str(tmp_path / "b"), "s3://bucket/c")
    assert found.warehouse.path == tmp_path / "w.duckdb"


def test_a_transform_is_for_all_features_or_for_one():
    for overrides, expected in (
        (["features.transform=yeo-johnson"], ["yeo-johnson"] * 3),
        (["features.transform.monetary=identity"], ["log1p", "log1p", "identity"]),
        (
            ["features.transform=yeo-johnson", "features.transform.monetary=log1p"],
            ["yeo-johnson", "yeo-johnson", "log1p"],
        ),
        (["features.transform.monetary=log1p", "features.transform=identity"], ["identity"] * 3),
    ):
        features = load(*overrides).features
        assert [features.transform_of(column) for column in features.columns] == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("POST,DOT , M", ("POST", "DOT", "M")),
        ('["a,b", "c"]', ("a,b", "c")),
        ("", ()),
        ("[]", ()),
        ("[0-9]*", ("[0-9]*",)),
    ],
)
def test_a_list_is_parts_between_commas_or_json(given, words):
    assert load(f"excluded_products={given}").excluded_products == words


@pytest.mark.parametrize(
    ("given", "delimiter"), [("tab", "\t"), ("\\t", "\t"), (";", ";"), ("whitespace", "whitespace")]
)
def test_a_delimiter_is_one_character_or_a_name(given, delimiter):
    assert load(f"source.delimiter={given}").source.delimiter == delimiter


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("models.kmax=8", "models.kmax: no such setting; did you mean models.k_max?"),
        ("k_max=8", "k_max: no such setting; did you mean models.k_max?"),
        ("feature.columns=a", "feature.columns: no such setting; did you mean features.columns?"),
        ("return=drop", "return: no such setting; did you mean returns?"),
        ("returns=maybe", "returns: Input should be 'net', 'drop' or 'match' (got 'maybe')"),
        ("as_of=tomorrow", "as_of: "),
        ("models.k_max=8.5", "models.k_max: "),
        ("models.k_max=1", "models.k_max: "),
        ("models.k_min=12", "models: k_max=10 is below k_min=12"),
        ("models=3", "models: is a group of settings, such as models.algorithms"),
        ("source=orders.csv", "source: is a group of settings, such as source.path"),
        ("features.transform=log", "features.transform.default: "),
        ("features.transform.monetary=log", "features.transform.monetary: "),
        ("features.transform.moneta=log1p",
         "features: transform.moneta is not in features.columns; did you mean monetary?"),
        ("features.transform={bad", "features.transform: "),
        ('excluded_products=["POST', "excluded_products: "),
        ("source.delimiter=;;", "source.delimiter: ';;' is neither"),
        ("source.delimiter=", "source.delimiter: '' is neither"),
        ("source.encoding=utf8", "source.encoding: "),
        ("source.preset=cdnaw", "source.preset: no preset 'cdnaw'"),
        ("selection.k=30", "selection.k=30 is outside"),
        ("returns", "--set returns: expected KEY=VALUE"),
        ("=net", "--set =net: expected KEY=VALUE"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_line_with_its_key(override, message):
    with pytest.raises(UsageError) as failure:
        load(override)
    assert str(failure.value).startswith(message)
    assert "\n" not in str(failure.value)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean cdnow"):
        load("source.preset=cdnaw")


def test_a_typing_error_in_the_environment_is_told():
    with pytest.raises(UsageError, match="SEG_PIPELINE_RETURN: no such setting; did you mean SEG_PIPELINE_RETURNS"):
        load(SEG_PIPELINE_RETURN="drop")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("returns = ", "not a TOML file"), ("source = 'a.csv'", "source: is a group of settings"),
        ("warehouse = 3", "warehouse: is a group"), ("[source]\npreset = 5", "no preset '5'"),
        ("[source]\npath = 5", "source.path: "), ("[source]\npreset = 'none.toml'", "no preset"),
        ("retuns = 'net'", "retuns"),
    ],
)  # fmt: skip
def test_a_wrong_settings_file_is_one_line(tmp_path, text, message):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(UsageError, match=message) as failure:
        load(config=tmp_path / "s.toml")
    assert "\n" not in str(failure.value)


def test_a_missing_settings_file_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        load(config=tmp_path / "none.toml")


def test_names_of_sparks_own_settings_have_dots(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('[spark.config]\n"spark.executor.memory" = "8g"\nspark.driver.memory = "4g"\n', encoding="utf-8")

    settings = load_settings(["spark.config.spark.driver.memory=2g"], config=file, environment={})

    assert settings.spark.config == {"spark.executor.memory": "8g", "spark.driver.memory": "2g"}


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ({"SEG_PIPELINE_CONFIG": "missing.toml"}, ["--config", "good.toml"]),
        ({"SEG_PIPELINE_MODELS_K_MAX": "abc"}, ["--set", "models.k_max=5"]),
    ],
)
def test_the_command_line_beats_an_environment_that_is_wrong(environment, options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.toml").write_text('[warehouse]\npath = "w.duckdb"\n')
    duckdb.connect("w.duckdb").close()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert main(["champions", "--warehouse", "w.duckdb", *options]) == 0
    assert "no champion yet" in capsys.readouterr().out


def test_a_run_reads_its_preset_and_its_settings_file_once(tmp_path, monkeypatch):
    (tmp_path / "orders.csv").write_text("order_id,customer_id,date,quantity,price\n1,a,2024-01-01,2,3\n")
    (tmp_path / "s.toml").write_text('[source]\npath = "orders.csv"\n[warehouse]\npath = "w.duckdb"\n')
    read = []
    monkeypatch.setattr(presets, "read_toml", lambda path: read.append(path.name) or presets_read_toml(path))
    monkeypatch.setattr(loading, "read_toml", presets.read_toml)

    settings = load(config=tmp_path / "s.toml")
    with executing(settings, Progress(*[lambda *_: None] * 4)) as execution:
        execution.run("ingest")

    assert read == ["s.toml", "generic.toml"]


def test_every_setting_that_is_not_in_a_group_shapes_a_model_or_names_the_night():
    # A new one that shapes a model without being in SHAPING would not lead to a refit.
    assert {key for key in keys() if "." not in key} <= {*SHAPING, "as_of"}


def numbers():
    """The key of each setting that takes a number, with an entry's key for a mapping."""
    for key in keys():
        *sections, name = key.split(".")
        model = Settings
        for section in sections:
            model = model.model_fields[section].annotation
        kinds = str(model.model_fields[name].annotation)
        if "float" in kinds or "int" in kinds.replace("_int", ""):
            yield f"{key}.default" if "dict" in kinds else key


@pytest.mark.parametrize("key", list(numbers()))
def test_every_number_is_finite_and_bounded_at_both_ends(key):
    for value in ("nan", "inf", "-inf", "1e300", str(10**30), str(-(10**30))):
        with pytest.raises(UsageError, match=rf"^{key}: "):
            load(f"{key}={value}")


@pytest.mark.parametrize("season", ["11-15", "11-15..13-01", "02-30..03-01", "1-5..2-5", "2026-11-15..2026-12-31"])
def test_a_season_without_refits_is_two_days_of_the_year(season):
    with pytest.raises(UsageError, match=rf"^champions.no_refit: '{season}' is not a season such as 11-15..01-06"):
        load(f"champions.no_refit={season}")

    assert load("champions.no_refit=11-15..01-06,02-29..03-01").champions.no_refit == ("11-15..01-06", "02-29..03-01")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "", "/etc/localtime"])
def test_a_time_zone_that_does_not_exist_is_refused(zone):
    with pytest.raises(UsageError, match=r"^automation.timezone: .* is not a time zone"):
        load(f"automation.timezone={zone}")


def test_the_address_of_the_webhook_comes_from_the_environment_alone_and_is_never_shown(tmp_path):
    (tmp_path / "s.toml").write_text('[automation]\nwebhook_url = "https://hooks.example/secret"\n')
    for overrides, config in (
        (["automation.webhook_url=https://hooks.example/secret"], None),
        ([], tmp_path / "s.toml"),
    ):
        with pytest.raises(UsageError, match="SEG_PIPELINE_AUTOMATION_WEBHOOK_URL") as failure:
            load(*overrides, config=config)
        assert "secret," in str(failure.value)
        assert "hooks" not in str(failure.value)

    settings = load(SEG_PIPELINE_AUTOMATION_WEBHOOK_URL="https://hooks.example/secret")
    assert settings.automation.webhook_url.get_secret_value() == "https://hooks.example/secret"
    assert "hooks" not in f"{settings!r}{settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("given", "kept"), [("", None), (" \n", None), ("https://a.example/x\n", "https://a.example/x")]
)
def test_blanks_around_the_address_of_a_webhook_do_not_count(given, kept):
    url = load(SEG_PIPELINE_AUTOMATION_WEBHOOK_URL=given).automation.webhook_url
    assert (url and url.get_secret_value()) == kept


@pytest.mark.parametrize("url", ["file:///etc/hooks", "ftp://hooks.example", "hooks", "https://"])
def test_a_webhook_is_http(url):
    with pytest.raises(UsageError, match=r"^automation.webhook_url: the address must begin with http") as failure:
        load(SEG_PIPELINE_AUTOMATION_WEBHOOK_URL=url)
    assert url not in str(failure.value).replace("https:// ", "").replace("http:// or https://", "")
