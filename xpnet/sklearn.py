"""Neural networks as estimators of scikit-learn."""
