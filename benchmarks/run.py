"""The benchmarks of proofs and bounds and the two reference methods, one after the other (about two hours).

Needs AUREOLE_DATA. The others take settings or hours of their own: `labels`, `search`, `solvers`, `few_pixels`,
`devices`, `questions`, and `neighborhoods` with `certificate`, `maximal` and `optimum`.
"""

from benchmarks import bounds_speed, hard_band, marvel, neighborhoods, shares, vnnlib

if __name__ == "__main__":
    bounds_speed.main()
    hard_band.main(method="incomplete")
    hard_band.main()
    shares.main()
    vnnlib.main()
    marvel.main(minutes=20.0)
    neighborhoods.main(["uniform", "oracle"], seconds=20.0, query_seconds=3.0)
