"""What the Unity project consists of. These tests need no Mono."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

# What must not be in a script under Assets, and why.
FORBIDDEN = {
    r"\bInput\b": "there are two input systems, and no keyboard in a player without a window",
    r"\boverride\s+void\s+(Awake|OnEnable|OnDisable)\b": "Agent has not the same ones in every version of the package",
    r"\b(ModelAsset|NNModel|InferenceDevice|Barracuda|Sentis)\b": "named differently in every version of the package",
    r"\bDecisionStep\b": "not in every version of the package",
    r"\bTrainingAreaReplicator\b": "not in every version of the package",
    r"\bvoid\s+(Fixed|Late)?Update\s*\(": "runs in no fixed order with the Academy's step",
    r"\[SerializeField\]": "nothing is serialized",
}


@pytest.fixture(scope="module")
def scripts(unity_project) -> dict[str, str]:
    paths = sorted((unity_project / "Assets").rglob("*.cs"))
    return {str(path.relative_to(unity_project)): path.read_text() for path in paths}


def test_nothing_is_serialized_by_hand(unity_project, repository):
    made_here = [path for path in unity_project.rglob("*") if path.is_file() and "Library" not in path.parts]
    assert not [path for path in made_here if path.suffix in {".unity", ".prefab", ".asset", ".mat"}]
    assert not [path for path in made_here if path.suffix == ".meta"], "commit them once a real Editor has made them"


def test_nothing_is_written_that_some_unity_does_not_have(scripts):
    found = [
        f"{path} has {match.group()!r}: {reason}"
        for path, text in scripts.items()
        for pattern, reason in FORBIDDEN.items()
        if (match := re.search(pattern, text))
    ]
    assert not found


def test_the_renamed_names_of_unity_6_are_in_one_file(scripts):
    names = r"\b(linearVelocity|linearDamping|angularDamping|angularDrag|Physics?Material|UNITY_6000_0_OR_NEWER)\b"
    assert [path for path, text in scripts.items() if re.search(names, text)] == ["Assets/Agents/EngineNames.cs"]


def test_core_knows_no_engine(unity_project, scripts):
    definition = json.loads((unity_project / "Assets/Core/MlAgentsBridge.Core.asmdef").read_text())
    assert definition["noEngineReferences"] is True and definition["references"] == []
    assert not [path for path, text in scripts.items() if path.startswith("Assets/Core/") and "UnityEngine" in text]


def test_every_assembly_definition_names_what_exists(unity_project):
    definitions = [json.loads(path.read_text()) for path in unity_project.rglob("*.asmdef")]
    names = {definition["name"] for definition in definitions} | {"Unity.ML-Agents"}
    assert len(definitions) == 6
    assert not [name for definition in definitions for name in definition["references"] if name not in names]
    (editor,) = [definition for definition in definitions if definition.get("includePlatforms")]
    assert editor["includePlatforms"] == ["Editor"]


@pytest.mark.parametrize(("file", "package"), [("manifest.json", "4.0.3"), ("manifest-2022.3.json", "2.0.1")])
def test_the_manifests_pin_the_package_and_ask_for_the_physics(unity_project, file, package):
    manifest = json.loads((unity_project / "Packages" / file).read_text())
    assert manifest["dependencies"] == {"com.unity.ml-agents": package, "com.unity.modules.physics": "1.0.0"}


def test_the_editor_version_is_of_the_line_of_the_manifest(unity_project):
    text = (unity_project / "ProjectSettings/ProjectVersion.txt").read_text()
    assert re.fullmatch(r"m_EditorVersion: 6000\.0\.\d+f\d\n", text)


def test_the_example_workflow_is_yaml_and_says_that_it_was_not_run(unity_project):
    text = (unity_project / "github-workflow.example.yml").read_text()
    assert text.startswith("# NOT RUN BY US.")
    steps = yaml.safe_load(text)["jobs"]["build"]["steps"]
    (build,) = [step["with"] for step in steps if "unity-builder" in step["uses"]]
    assert build["buildMethod"] == "MlAgentsBridge.Build.FromCommandLine"


def test_no_line_of_a_script_is_too_long(unity_project):
    paths = [path for folder in (unity_project, Path(__file__).parent) for path in folder.rglob("*.cs")]
    lines = [(path.name, number, line) for path in paths for number, line in enumerate(path.read_text().split("\n"), 1)]
    assert not [f"{name}:{number}" for name, number, line in lines if len(line) > 120]


def test_every_script_of_the_driver_and_the_stub_stays_with_the_tests(unity_project):
    here = Path(__file__).parent
    names = {path.name for folder in ("stub", "driver") for path in (here / folder).rglob("*.cs")}
    assert not names & {path.name for path in unity_project.rglob("*.cs")}
