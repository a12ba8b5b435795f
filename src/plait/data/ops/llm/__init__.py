"""Operations that ask a language model."""
