"""Learn prices from a table with words and missing numbers: the columns become numbers, and errors are in euros.

Columns measures the table once: numbers are standardized, each word becomes a column of 0 and 1, and a missing number
becomes the median, with a column that says so. The same is applied to what is predicted later.
"""

import numpy as np
from arguments import parse

from xpnet import data, models, viz
from xpnet.train import Trainer

options = parse(__doc__)
rng = np.random.default_rng(0)
n = 300 if options.quick else 1500
area, year = rng.uniform(30, 200, n), rng.integers(1900, 2025, n).astype(float)
city = rng.choice(["Bern", "Oslo", "Rome"], n)
metre = np.select([city == "Bern", city == "Oslo"], [6000.0, 4500.0], 3000.0)
price = area * metre * (1 + 0.004 * (year - 1960)) + rng.normal(0, 20_000, n)
year[rng.random(n) < 0.1] = np.nan  # not known
table = {"area": area, "city": city.tolist(), "year": year, "price": price}

columns = data.Columns.fit(table, "price")
for line in columns.notes():
    print(line)
houses = columns.dataset(table)
train, test = houses.split(0.8)

model = models.mlp(train.shape, 1, hidden=(32,)).to(options.backend).initialize(seed=0)
trainer = Trainer(model)
trainer.fit(train, epochs=10 if options.quick else 60, batch_size=32)
figures = trainer.evaluate(test)
print(f"{trainer.task.describe()}\nRMSE {figures['rmse']:,.0f} euros, R2 {figures['r2']:.3f}")
assert figures["r2"] > 0.8

new = {"year": [1990.0, np.nan], "city": ["Rome", "Oslo"], "area": [100.0, 100.0]}
for place, euros in zip(new["city"], trainer.predict(columns.apply(new)).reshape(-1), strict=True):
    print(f"100 square metres in {place}: {euros:,.0f} euros")

options.save(lambda: viz.regression(figures["scores"], test.y, ["price, euros"]))
print(
    "Notice: the network learns standardized prices, and answers in euros. The residuals below show where it is wrong:"
)
print("the houses whose year is missing lie farthest from the line.")
