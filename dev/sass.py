"""What ptxas and cuobjdump say of compiled kernels: resources, instructions, and which ones are in loops."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

FP64 = re.compile(r"^(D(ADD|MUL|FMA|SETP|MNMX)\b|MUFU\.\w*64|(F2F|I2F|F2I)\.(\w+\.)*F64|F2F\.\w+\.F64)")
LOCAL = re.compile(r"^(LDL|STL)\b")
_LINE = re.compile(r"^\s*/\*(?P<address>[0-9a-f]{4,})\*/\s+(?P<text>[^;/]+);")
_PREDICATED = re.compile(r"^(?P<predicate>@!?U?P\w+)\s+")
_TARGET = re.compile(r"\b(0x[0-9a-f]+)\s*$")


@dataclass(frozen=True)
class Resources:
    """What ptxas says one kernel takes."""

    registers: int
    static_shared_bytes: int
    stack_bytes: int
    spill_bytes: int


@dataclass(frozen=True)
class Instruction:
    """One line of SASS, its predicate apart."""

    address: int
    text: str
    predicated: bool

    @property
    def opcode(self) -> str:
        """`LDG.E.128` of `LDG.E.128 R4, [R2.64]`."""
        return self.text.split(maxsplit=1)[0]

    @property
    def target(self) -> int | None:
        """Where a branch leads."""
        found = _TARGET.search(self.text) if self.opcode.startswith("BRA") else None
        return int(found.group(1), 16) if found else None


def parse_ptxas(log: str) -> dict[str, Resources]:
    """Resources of each kernel, by mangled name, from the output of `ptxas -v`."""
    kernels: dict[str, Resources] = {}
    for part in log.split("Compiling entry function '")[1:]:
        name = part.split("'", 1)[0]
        kernels[name] = Resources(
            registers=_number(r"Used (\d+) registers", part),
            static_shared_bytes=_number(r"(\d+) bytes smem", part),
            stack_bytes=_number(r"(\d+) bytes stack frame", part),
            spill_bytes=_number(r"(\d+) bytes spill stores", part)
            + _number(r"(\d+) bytes spill loads", part),
        )
    return kernels


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found.group(1)) if found else 0


def find_disassembler(name: str, toolkit: Path) -> Path:
    """cuobjdump or nvdisasm: the toolkit's, the PATH's, or the one that Triton brings along.

    Raises:
        RuntimeError: there is none.
    """
    spec = importlib.util.find_spec("triton")
    folders = [toolkit / "bin", Path(shutil.which(name) or "/nowhere").parent]
    if spec is not None and spec.origin is not None:
        folders.append(Path(spec.origin).parent / "backends" / "nvidia" / "bin")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise RuntimeError(f"no {name} was found: install CUDA's binary utilities, or Triton, which holds one.")


def disassemble(cuobjdump: Path, cubin: Path) -> dict[str, list[Instruction]]:
    """The instructions of each kernel in a cubin, by mangled name."""
    done = subprocess.run([cuobjdump, "-sass", cubin], capture_output=True, text=True, check=True)
    return parse_sass(done.stdout)


def parse_sass(listing: str) -> dict[str, list[Instruction]]:
    """As `disassemble`, from cuobjdump's text."""
    kernels: dict[str, list[Instruction]] = {}
    for part in listing.split("Function : ")[1:]:
        name, _, body = part.partition("\n")
        kernels[name.strip()] = [
            i for line in body.splitlines() if (i := parse_instruction(line)) is not None
        ]
    return kernels


def parse_instruction(line: str) -> Instruction | None:
    """One line of cuobjdump, or None if it holds no instruction."""
    found = _LINE.match(line)
    if found is None:
        return None
    text = found["text"].strip()
    predicate = _PREDICATED.match(text)
    always = predicate is None or predicate["predicate"] in ("@PT", "@UPT")
    return Instruction(int(found["address"], 16), _PREDICATED.sub("", text), not always)


def demangle(names: list[str]) -> list[str]:
    """Readable names, by binutils' c++filt."""
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def successors(code: list[Instruction]) -> list[list[int]]:
    """The control flow graph, instruction by instruction. A call comes back to where it was made."""
    position = {instruction.address: i for i, instruction in enumerate(code)}
    graph: list[list[int]] = []
    for i, instruction in enumerate(code):
        next_ones = []
        if instruction.target is not None and instruction.target in position:
            next_ones.append(position[instruction.target])
        leaves = instruction.opcode.split(".")[0] in ("BRA", "EXIT", "RET")
        if i + 1 < len(code) and (instruction.predicated or not leaves):
            next_ones.append(i + 1)
        graph.append(next_ones)
    return graph


def in_loops(code: list[Instruction]) -> list[Instruction]:
    """The instructions that can be reached from themselves: strongly connected components, by Tarjan."""
    graph = successors(code)
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    open_nodes: list[int] = []
    is_open: set[int] = set()
    looping: list[Instruction] = []

    def close(node: int) -> None:
        component: list[int] = []
        while not component or component[-1] != node:
            component.append(open_nodes.pop())
            is_open.discard(component[-1])
        if len(component) > 1 or node in graph[node]:
            # An endless branch to itself pads the end of every kernel; it is no loop of the program.
            looping.extend(code[i] for i in component if len(component) > 1 or code[i].predicated)

    for root in range(len(code)):
        if root in number:
            continue
        work = [(root, iter(graph[root]))]
        number[root] = low[root] = len(number)
        open_nodes.append(root)
        is_open.add(root)
        while work:
            node, rest = work[-1]
            child = next(rest, None)
            if child is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    close(node)
            elif child not in number:
                number[child] = low[child] = len(number)
                open_nodes.append(child)
                is_open.add(child)
                work.append((child, iter(graph[child])))
            elif child in is_open:
                low[node] = min(low[node], number[child])
    return looping
