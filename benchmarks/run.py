"""All benchmarks one after the other (about two hours); needs AUREOLE_DATA."""

from benchmarks import bounds_speed, hard_band, neighborhoods, shares, vnnlib

if __name__ == "__main__":
    bounds_speed.main()
    hard_band.main(method="incomplete")
    hard_band.main()
    shares.main()
    vnnlib.main()
    neighborhoods.main(["uniform", "oracle"], seconds=30.0, query_seconds=3.0)
