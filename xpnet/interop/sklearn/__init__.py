"""Estimators of scikit-learn that train a network with a Trainer; xpnet.sklearn is where programs find them."""
