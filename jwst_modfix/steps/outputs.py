"""Where results go: named by suffix, each whole or not at all, and never over an input."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from jwst.datamodels import ModelLibrary

from jwst_modfix.errors import AssociationError, ModuleOffsetError
from jwst_modfix.files import check_writable, find_existing, remove_leftovers, written_whole
from jwst_modfix.steps.associations import AssociationLibrary
from jwst_modfix.steps.existing import describe_job, find_unfinished, refuse_existing, sign
from jwst_modfix.text import get_logger

__all__ = ["SUFFIX", "UNDONE_SUFFIX", "SafeOutputs"]

log = get_logger(f"stpipe.{__name__}")

SUFFIX = "modfix"
UNDONE_SUFFIX = "unmodfix"


class SafeOutputs:
    """Part of a step that saves its results.

    ``_inputs`` are the resolved paths of all inputs, which are never written to; ``_jobs`` says for each output that
    is made of a file what it is the output of; ``_finished`` holds, by the identity of a result, the path that a
    former run has finished it at.
    """

    _inputs = frozenset()
    _jobs = _finished = MappingProxyType({})

    def remove_suffix(self, name):
        """Take a known suffix off a file's name, ours included."""
        ours = re.fullmatch(rf"(.+)([_-])(?:{SUFFIX}|{UNDONE_SUFFIX})", name)
        return ours.groups() if ours else super().remove_suffix(name)

    def save_model(self, model, suffix=None, idx=None, output_file=None, force=False, **components):
        """Save results, each whole or not at all, and never over an input."""
        if isinstance(model, AssociationLibrary) and model.is_final:
            return [member["expname"] for member in model.asn["products"][0]["members"]]
        if isinstance(model, Sequence | ModelLibrary):
            return super().save_model(model, suffix, idx, output_file, force, **components)
        if id(model) in self._finished:
            return str(self._finished[id(model)])
        output_file = output_file or self.output_file
        if not (force or self.save_results or output_file):
            return None
        basename = output_file if output_file and idx is None else model.meta.filename
        target = self._output_path(basename or self.default_output_file())
        self._save_whole(model, target)
        return str(target)

    def _save_whole(self, model, target):
        if target.resolve() in self._inputs and target.exists():
            raise ModuleOffsetError(f"{target}: is an input, which is never overwritten: set output_dir or suffix")
        with written_whole(target) as partial:
            model.save(str(partial))
            sign(partial, self._jobs.get(target))
        log.debug("Saved %s", target)

    def _output_path(self, basename):
        return Path(self.make_output_path(basepath=str(basename), suffix=self._output_suffix)).absolute()

    @property
    def _output_suffix(self):
        return UNDONE_SUFFIX if self.inverse and self.suffix == SUFFIX else self.suffix

    def _refuse_outputs(self, inputs):
        """Refuse to save files and models over one another, or over an input; return where each will be saved."""
        if not self.save_results:
            return []
        targets = []
        for item in inputs:
            name = item.name if isinstance(item, Path) else item.meta.filename
            targets.append(self._output_path(name or self.default_output_file()))
            # A model does not say where it was opened from: a file of its name in the output folder may be its own.
            source = item if isinstance(item, Path) else targets[-1].with_name(Path(str(name)).name)
            self._inputs.add(source.resolve())
        if self.output_file and len(targets) == 1:
            targets = [self._output_path(self.output_file)]
        self._refuse_collisions(targets)
        if self.on_existing == "error":
            refuse_existing(targets)
        return targets

    def _refuse_collisions(self, targets):
        """Refuse outputs that would overwrite one another, or an input."""
        problems = [
            f"{target} would be written for {count} exposures"
            for target, count in Counter(targets).items()
            if count > 1
        ]
        problems += [
            f"{target} is an input, which is never overwritten"
            for target in dict.fromkeys(targets)
            if target.resolve() in self._inputs and target.exists()
        ]
        if problems:
            raise AssociationError("; ".join(problems) + ": set output_dir or suffix")

    def _resume(self, sources, correction, product=None):
        """Say which outputs are finished, and make way for the others.

        ``sources`` maps output path to input: a file, or an exposure in memory, of which nothing can be finished.
        ``product`` is the association of the outputs.
        """
        self._jobs = {
            target: describe_job(item, correction) for target, item in sources.items() if isinstance(item, Path)
        }
        finished = {target for target in sources if self.on_existing == "skip" and self._is_finished(target)}
        for folder in {target.parent for target in sources if target not in finished}:
            check_writable(folder)
        for path in remove_leftovers({target.parent for target in sources}):
            log.info("Removed %s, which a run that was killed had left", path)
        return finished

    def _is_finished(self, target):
        if not find_existing([target]):
            return False
        job = self._jobs.get(target)
        reason = find_unfinished(target, job) if job else "an exposure in memory does not say what file it is"
        if reason:
            log.info("%s is made anew: %s", target, reason)
        return not reason
