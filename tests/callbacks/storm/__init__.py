"""A storm of callbacks: many receivers, some of which fail, and couriers that are killed."""
