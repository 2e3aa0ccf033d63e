"""Search for the shortest tour through twelve cities in five ways, and count which find it.

`python docs/examples/search.py`; it needs NumPy only. Each search may measure 2000 tours.
"""

import argparse
import itertools

import numpy as np

CITIES, TOURS, RUNS = 12, 2000, 100


class Map:
    """Cities in a square, and how many tours through them were measured."""

    def __init__(self, seed=0):
        """Draw the cities."""
        places = np.random.default_rng(seed).uniform(size=(CITIES, 2))
        self.distances = np.linalg.norm(places[:, None] - places, axis=-1)
        self.measured = 0

    def length(self, tour):
        """Return the length of a tour, which ends where it began."""
        self.measured += 1
        return self.distances[tour, np.roll(tour, 1)].sum()

    def shortest(self):
        """Return the length of the shortest tour, found by looking at all parts of tours."""
        # By the cities that a path from city 0 has visited and its last one (Held and Karp, 1962).
        paths = {(frozenset([last]), last): self.distances[0, last] for last in range(1, CITIES)}
        for _ in range(CITIES - 2):
            longer = {}
            for (visited, last), length in paths.items():
                for city in set(range(1, CITIES)) - visited:
                    key = visited | {city}, city
                    total = length + self.distances[last, city]
                    longer[key] = min(total, longer.get(key, np.inf))
            paths = longer
        return min(length + self.distances[last, 0] for (_, last), length in paths.items())


def reversed_part(tour, first, last):
    """Return a neighbor of a tour: it takes the part from `first` to `last` backwards."""
    neighbor = tour.copy()
    neighbor[first : last + 1] = neighbor[first : last + 1][::-1]
    return neighbor


def random_neighbor(tour, rng):
    """Return one of the neighbors of a tour."""
    first, last = sorted(rng.choice(CITIES, 2, replace=False))
    return reversed_part(tour, first, last)


def draws(cities, rng):
    """Draw tours at random, and return the length of the shortest."""
    return min(cities.length(rng.permutation(CITIES)) for _ in range(TOURS))


def descent(cities, rng):
    """Go from a random tour to shorter neighbors, until there is none: into the next valley."""
    tour = rng.permutation(CITIES)
    length = cities.length(tour)
    improved = True
    while improved:
        improved = False
        for first, last in itertools.combinations(range(CITIES), 2):
            neighbor = reversed_part(tour, first, last)
            other = cities.length(neighbor)
            if other < length - 1e-9:
                tour, length, improved = neighbor, other, True
    return length


def restarts(cities, rng):
    """Descend from one random tour after the other."""
    shortest = np.inf
    while cities.measured < TOURS:
        shortest = min(shortest, descent(cities, rng))
    return shortest


def annealing(cities, rng):
    """Go to a random neighbor, to a longer one too, but ever more rarely."""
    tour = rng.permutation(CITIES)
    length = shortest = cities.length(tour)
    for temperature in np.geomspace(0.5, 0.01, TOURS - 1):
        neighbor = random_neighbor(tour, rng)
        other = cities.length(neighbor)
        if other < length or rng.uniform() < np.exp((length - other) / temperature):
            tour, length = neighbor, other
        shortest = min(shortest, length)
    return shortest


def child(mother, father, rng):
    """Return a tour with a part of one tour, the other cities in the order of another."""
    first, last = sorted(rng.choice(CITIES, 2, replace=False))
    part = mother[first : last + 1]
    rest = father[~np.isin(father, part)]
    return np.concatenate([rest[:first], part, rest[first:]])


def genetic(cities, rng, size=40):
    """Let a population of tours evolve: the shorter half remains and has children that mutate."""
    population = [rng.permutation(CITIES) for _ in range(size)]
    lengths = [cities.length(tour) for tour in population]
    while cities.measured + size // 2 <= TOURS:
        fittest = np.argsort(lengths)[: size // 2]
        population = [population[index] for index in fittest]
        lengths = [lengths[index] for index in fittest]
        for _ in range(size // 2):
            mother, father = rng.choice(size // 2, 2, replace=False)
            tour = child(population[mother], population[father], rng)
            tour = random_neighbor(tour, rng)
            population.append(tour)
            lengths.append(cities.length(tour))
    return min(lengths)


SEARCHES = {
    "random draws": draws,
    "one descent": descent,
    "descents, restarted": restarts,
    "simulated annealing": annealing,
    "genetic algorithm": genetic,
}


def run(search, seed):
    """Return the length of the tour that a search finds, and how many tours it measured."""
    cities = Map()
    length = search(cities, np.random.default_rng(seed))
    return length, cities.measured


def main(arguments=None):
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS, help="number of seeds")
    runs = parser.parse_args(arguments).runs
    shortest = Map().shortest()
    print(f"Tours through {CITIES} cities: {runs} runs each")
    print(f"{'':22}{'tours':>7}{'shortest found':>16}{'too long by':>13}")
    for name, search in SEARCHES.items():
        lengths, measured = np.transpose([run(search, seed) for seed in range(runs)])
        ratios = lengths / shortest
        found = (ratios < 1 + 1e-9).mean()
        print(f"{name:22}{measured.mean():7.0f}{found:16.0%}{ratios.mean() - 1:13.1%}", flush=True)


if __name__ == "__main__":
    main()
