"""Which case a seed stands for. What matters most goes round by the seed's remainder, so that any twelve seeds in a
row see each element type with exact and with real-valued numbers, each number of heads and of layers; the rest is
drawn, from the seed alone."""

import random

ELEMENTS = ("f32", "f16", "bf16")
HEADS = (1, 2, 4, 8)


def options_for(seed):
    """The options of one case, all of them valid together."""
    draw = random.Random(seed * 7919)
    heads = HEADS[seed % 4]
    additive = draw.random() < 0.3
    interned = draw.random() < 0.25
    shared_router = draw.random() < 0.3
    user_width = [draw.randint(0, 8), draw.randint(0, 8)]
    if user_width[0] == user_width[1]:
        user_width[1] = (user_width[1] + 1) % 9
    pool_width = []
    for width in user_width:
        own = 0 if additive else width
        # Heads split the whole width evenly, and something of it is the pool's.
        least = own // heads + 1
        pool_width.append(heads * draw.randint(least, least + 32 // heads) - own)
    pool_rows = [draw.choice((1, 2, 17, 64, 100)), draw.choice((1, 3, 32, 64, 129))]
    if shared_router:
        pool_rows[1] = pool_rows[0]
    return {
        "element": ELEMENTS[seed % 3],
        "gaussian": (seed // 3) % 2 == 1,
        "heads": heads,
        "layers": 1 + (seed // 2) % 3,
        "user_width": user_width,
        "pool_width": pool_width,
        "pool_rows": pool_rows,
        "max_length": draw.choice((30, 120, 300)),
        "search_layer": draw.random() < 0.35,
        "additive": additive,
        "interned": interned,
        "shared_router": shared_router,
        "positions": draw.random() < 0.4,
        "window": draw.randint(1, 60) if draw.random() < 0.4 else None,
        "pool_dtype": draw.choice(("f32", "f16")),
        # One, a few, many, and more positions than any history has.
        "top": draw.choice((1, 5, 20, 60, 400)),
    }


def arguments(options):
    """The options as the reference's command line takes them."""
    words = []
    for name, value in options.items():
        if value is None or value is False:
            continue
        words.append("--" + name.replace("_", "-"))
        if isinstance(value, list):
            words += [str(number) for number in value]
        elif value is not True:
            words.append(str(value))
    return words
