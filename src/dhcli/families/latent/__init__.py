"""The family `latent`: networks that paint a face in the space of an autoencoder's latents, as MuseTalk does."""
