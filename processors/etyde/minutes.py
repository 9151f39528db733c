"""Minutes shared out in proportion, so that they add up exactly: largest remainders, in bounds."""

from collections.abc import Sequence
from fractions import Fraction
from math import floor


def shared_out(total: int, weights: Sequence[float], least: int, most: int) -> list[int]:
    """Whole numbers from `least` to `most` in proportion to `weights`; their sum is `total`.

    What is over after rounding down goes to the largest remainders, the first of equal ones.
    Raises ValueError where no such numbers exist, or a weight is not over 0.
    """
    if not least * len(weights) <= total <= most * len(weights):
        raise ValueError(f"{total} cannot be {len(weights)} numbers from {least} to {most}")
    if any(weight <= 0 for weight in weights):
        raise ValueError("a weight must be over 0")
    exact = in_proportion(total, [Fraction(weight) for weight in weights], least, most)
    shares = [floor(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (shares[i] - exact[i], i))
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares


def in_proportion(total: int, weights: Sequence[Fraction], least: int, most: int) -> list[Fraction]:
    """The exact shares: each weight times one factor, held within the bounds.

    Their sum grows with the factor and is a line between the factors at which a share meets a
    bound, so the right one is found between two of these.
    """

    def shares(factor: Fraction) -> list[Fraction]:
        return [min(Fraction(most), max(Fraction(least), factor * w)) for w in weights]

    turns = sorted({Fraction(bound) / weight for weight in weights for bound in (least, most)})
    low = high = turns[0] if turns else Fraction(0)
    for turn in turns:
        high = turn
        if sum(shares(turn)) >= total:
            break
        low = turn
    below, above = sum(shares(low)), sum(shares(high))
    if above > below:
        low += (high - low) * (total - below) / (above - below)
    return shares(low)
