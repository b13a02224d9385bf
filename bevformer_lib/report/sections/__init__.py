"""The report's sections: every module declares one as ``SECTION``; its template is the file of the same name."""
