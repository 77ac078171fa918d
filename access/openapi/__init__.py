"""The OpenAPI description: models, shared responses, request examples, Swagger UI."""
