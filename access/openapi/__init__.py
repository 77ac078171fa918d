"""The OpenAPI description: models, examples, Swagger UI."""
